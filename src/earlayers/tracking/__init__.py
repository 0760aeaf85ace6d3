"""MLflow as a view of the files under results/: nothing is ever read back from it. The only user of mlflow.

A stage writes its files, then `runs.log_cell` shows them. What is missing, because MLflow could not be
reached or because DVC took a stage from its cache, `runs.sync` creates from the same files, once each.
"""
