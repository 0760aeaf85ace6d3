"""What a run will cost before it is begun: every stage's own function, run on a small sample.

`subset` cuts a file of parameters down, `sample` lays out small projects, `measuring` runs stages in them,
`plan` lists the cells of dvc.yaml and extrapolates, `page` tells;
`around` speaks before and after `make repro`; `taste` runs a small part of the pipeline.
"""
