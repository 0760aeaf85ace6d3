"""How MLflow's page opens: the table of runs with the columns of the paper's tables, best cell first."""

from __future__ import annotations

import json

KEY = "table"
_RUN_NAME = "attributes.`Run Name`"
_WIDTH_PIXELS = 88  # a metric with two places before the point and four behind it
_METRICS = {
    "train": ("best_acc", "best_std", "sec", "epochs"),
    "classify": ("acc/all", "std/all", "acc/l1", "acc/l2", "acc/l3", "none/all", "net", "val/all", "sec"),
    "transfer": ("acc/all", "std/all", "acc/l1", "acc/l2", "acc/l3"),
    "tune": ("acc", "acc/best", "acc/paper", "acc/gain", "seconds"),
}
_MEANINGS = {
    "train": (
        "Trainings, a run for every fold beneath, with its curves. best_acc, best_std: accuracy of "
        "validation frames in percent at the best epoch, mean and deviation over folds; sec: seconds of "
        "training a fold; epochs: of a fold. Curves by epoch: train_loss, valid_loss: cross-entropy of "
        "training and validation frames; valid_acc: accuracy of validation frames in percent. Of "
        "Hessian-free steps: hf/rho: actual over predicted reduction of the loss; hf/damping: strength of "
        "the damping; hf/grad: norm of the gradient; hf/cg_iter: iterations of conjugate gradients, "
        "hf/chosen: the one whose result was taken; hf/product: products with the curvature matrix; "
        "hf/step: length of the step after the line search; hf/accept: 1 where the step was taken, 0 "
        "where it was not."
    ),
    "classify": (
        "Table 1: test clips of the dataset that was learned on. acc: accuracy over windows in percent, "
        "std: its deviation over folds; none, nstd: the same over single frames; l1, l2, ...: of one "
        "layer, all: of all joined; val: of validation clips; net, net_std: the network's own vote; "
        "best_acc, best_std: accuracy of validation frames in its training, sec, epochs: seconds and "
        "epochs of a fold of it."
    ),
    "transfer": (
        "Table 2: networks of one dataset on the clips of another. acc: accuracy over windows in percent, "
        "std: its deviation over folds; l1, l2, ...: of one layer, all: of all joined; best_acc, "
        "best_std: accuracy of validation frames in the network's training, sec, epochs: seconds and "
        "epochs of a fold of it."
    ),
    "tune": (
        "Searches, a run for every trial beneath. acc: accuracy of validation frames in percent, mean "
        "over folds (of a search: its best trial's), f0, f1, ...: of one fold; acc/best, acc/paper, "
        "acc/gain: of the best trial, of the paper's values, and the gain in points; seconds: of "
        "processor time; n: how many trials are complete, pruned, failed, or were cut_short and queued "
        "again. Curves by epoch of every fold: train_loss, valid_acc in percent, damping."
    ),
    "report": (
        "What sums up all cells: report.html and both tables, a run for every state of them. No metrics: "
        "the numbers are those of the runs in train, classify and transfer."
    ),
}
_PARAMETERS = ("method", "hidden_units", "source", "dataset")


def page(experiment: str) -> str:
    """The part of a link behind the server's address that opens a stage's table of runs.

    Args:
        experiment: id of the stage's experiment.
    """
    # without the first argument the page opens a view made for language models
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"


def experiment_tags(stage: str) -> dict[str, str]:
    """Tags that make the page open this way: the kind of experiment, and the shared view of that key.

    Args:
        stage: name of the experiment; one without a table of its own gets the kind alone.
    """
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if stage in _MEANINGS:
        tags["mlflow.note.content"] = _MEANINGS[stage]
    if stage not in _METRICS:
        return tags
    metrics = [f"metrics.`{name}`" for name in _METRICS[stage]]
    columns = [*metrics, *(f"params.`{name}`" for name in _PARAMETERS)]
    if stage == "classify":
        columns.insert(1, "tags.`champion`")  # the dataset whose champion it is
    state = {
        "orderByKey": metrics[0],
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": [_RUN_NAME, *columns],
        "columnWidths": {_RUN_NAME: 290, **dict.fromkeys(columns, _WIDTH_PIXELS)},
        "runsHiddenMode": "SHOW_ALL",
    }
    if stage == "train":
        state["groupBy"] = {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": "cell"}],
        }
    return tags | {f"mlflow.sharedViewState.{KEY}": json.dumps(state)}
