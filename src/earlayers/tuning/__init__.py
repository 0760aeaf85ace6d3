"""Hyper-parameter search: a study of one cell of the matrix, shared by processes and machines.

spaces      `tune.<method>` of params.yaml: what may vary, the paper's values, the grid, the pruner's settings
pruning     when a trial may be ended early: by epoch on fold 0, then after every fold
storage     where studies live, and how the trial of a killed process comes back
samplers    who proposes the next values, by name
job         all that a worker needs to know, as one line of JSON
preparing   params.yaml and frames -> a job
study       a study's name, its first trial, how many of its trials count
objective   a trial -> validation accuracy (and seconds), fold by fold
training    one fold of a trial, by the function that the pipeline trains with
worker      the process that runs trials
conductor   the process that starts workers, hands out trials and notices the dead
progress    running with a bar and a line for every trial
summary     a study -> the numbers that are kept
figures     a study -> pictures
page        a study -> one page to hover over, which opens offline
views       a study -> what MLflow shows of it
applying    the best values -> params.yaml
"""
