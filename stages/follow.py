"""Command ``follow``: take part in the training of a stage that another machine runs."""

from stages.learning.machines import machines
from stages.learning.tensorflow import set_up_tensorflow
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError


def main() -> None:
    """Wait for the machines that ``TF_CONFIG`` names, and train as the first one says until its stage ends."""
    if not machines().index:
        raise UserError(
            "TF_CONFIG has to name several machines, and this one by an index of at least 1: 0 runs the stages"
        )
    set_up_tensorflow()
    from stages.learning.devices import DevicesOfMachines, devices
    from stages.learning.following import step_of

    together = devices()
    assert isinstance(together, DevicesOfMachines)
    together.follow(step_of)


if __name__ == "__main__":
    run("follow", main)
