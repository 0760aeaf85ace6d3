"""What a run will cost before it is begun: every stage's own function, run on a small sample.

`subset` cuts a file of parameters down, `presets` applies a file of differences to it, `shortcuts` says what
those are known to change. `steps` lists the cells of dvc.yaml, `sample` lays out small projects and runs
stages in them, `plan` extrapolates, `page` tells. `around` speaks before and after `make repro`; `taste` runs
a small part of the pipeline.
"""
