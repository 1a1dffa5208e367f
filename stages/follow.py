"""Command ``follow``: take part in the training of a stage that another machine runs."""

from stages.learning.tensorflow import machines, set_up_tensorflow
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError


def main() -> None:
    """Wait for the machines that ``TF_CONFIG`` names, and train as the first one says until its stage ends."""
    if not machines().index:
        raise UserError(
            "TF_CONFIG names no other machine to follow, or this as machine 0, which runs the stages; "
            'allowed is {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 1}}'
        )
    set_up_tensorflow()
    from stages.learning.devices import devices
    from stages.learning.following import step_of

    together = devices()
    assert together  # there are several machines
    together.follow(step_of)


if __name__ == "__main__":
    run("follow", main)
