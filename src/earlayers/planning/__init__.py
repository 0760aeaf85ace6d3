"""What a run will cost before it is begun: sizes of the datasets x costs of a unit of work, measured here.

`subset` cuts a file of parameters down, `sizes` counts clips, frames and windows, `calibration` measures what
a unit of work takes on this machine, `costs` and `forests` multiply, `page` tells.
"""
