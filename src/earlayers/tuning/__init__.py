"""Hyper-parameter search: a study of one cell of the matrix, shared by processes and machines.

pruning     when a trial may be ended early: by epoch on fold 0, then after every fold
samplers    who proposes the next values, by name
job         params.yaml and frames -> all that a worker needs to know, and the study's name
storage     where studies live, and how the trial of a dead process comes back
study       a study's first trials, which of them count, which of their processes are dead
objective   a trial -> validation accuracy (and seconds), fold by fold, as the pipeline trains
training    one fold of a trial, by the function that the pipeline trains with
workers     processes that run trials until the study holds a number of them
summary     a study -> the numbers that are kept, and a verdict
figures     a study -> pictures, and one page to hover over, which opens offline
views       a study -> what MLflow shows of it
applying    the best values -> params.yaml
"""
