"""The sections of ``params.yaml``, typed: what each parameter means and which values it takes.

The descriptions are the table of stages/PARAMETERS.md. A field without ``None`` in its type that is null in
``params.yaml`` has its value from stages/choices.yaml by the time that it stands here.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NOTHING = "stages/none"  # stands for a file or folder that is not there, since DVC takes no null for a dependency
MIN_RADIUS = 2
MOST_CLASSES = 254  # beside the background; 255 stands for ignored pixels
INT_MAX = 2**63 - 1
FAR = 0.5  # share of the bar: what fails below it has a wrong mask rather than a hard one

Interference = Literal["rectangle", "triangle", "none"]


class UndeclaredParameterError(Exception):
    """A stage reads a parameter that ``dvc.yaml`` does not declare for it: a mistake in the project itself."""


class Section(BaseModel):
    """A group of parameters; a key that the stage did not declare is absent, and reading it an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def __getattr__(self, name: str) -> Any:
        if name in type(self).model_fields:
            raise UndeclaredParameterError(
                f"dvc.yaml: this stage reads the parameter {name!r} of {type(self).__name__} without declaring it"
            )
        return super().__getattr__(name)  # type: ignore[misc]  # defined by pydantic outside of type checking


class DatasetParams(Section):
    """Which pairs, and how many."""

    name: str = Field(
        description="source of the pairs: `ellipses`, drawn here; `fashion_mnist`, ten labels; `folder`, `coco` and "
        "`airbus`, your own files"
    )
    # Pixels of a mask are counted in float32, which is exact up to 2²⁴.
    image_size: int = Field(
        ge=1,
        le=4096,
        description="height and width of a pair in pixels, at most 4096; a multiple of 16 for the U-Nets, for ellipses "
        "more than twice `radius_max`",
    )
    train_count: int | None = Field(
        ge=1, le=100_000_000, description="pairs of the pool; for your files `null` takes all tiles"
    )
    test_count: int | None = Field(
        ge=1, le=100_000_000, description="pairs of the test set; for your files `null` takes all tiles"
    )
    train_seed: int = Field(ge=0, le=INT_MAX, description="random seed of the pool")
    test_seed: int = Field(ge=0, le=INT_MAX, description="random seed of the test set")
    radius_min: float = Field(ge=MIN_RADIUS, description="least radius of the ellipses, in pixels")
    radius_max: float = Field(ge=MIN_RADIUS, description="greatest radius of the ellipses, in pixels")
    interference: Interference = Field(description="shape beside the ellipse: `rectangle`, `triangle`, `none`")
    train_interference: Interference | None = Field(description="that shape in the pool, if it is another one there")
    test_interference: Interference | None = Field(description="that shape in the test set, if it is another one there")
    dtype: Literal["uint8", "float32"] = Field(
        description="type of stored images: `uint8`, or `float32` as in the article, four times as large"
    )
    path: str = Field(
        description="folder of your files, also in an object store as `s3://bucket/folder`, or of Fashion-MNIST's; "
        "`stages/none` stands for no folder"
    )
    images: str | None = Field(description="glob pattern of the images below `path`")
    masks: str | None = Field(
        description="glob pattern of the masks below `path`; for `airbus` and `coco` "
        "the path of the table, or of the annotations"
    )
    mask_values: list[int] | None = Field(
        description="values of a label image that make the mask, as `[1,3]`; with `classes` those of the classes"
    )
    classes: Literal["all"] | list[str] | None = Field(
        description="names of the classes of pixels, as `[road,car]`, in the order of `mask_values` or `class_colors`, "
        "else of the values 1, 2, …; `all` takes what the masks hold; `null` makes masks of one class"
    )
    class_colors: list[str] | None = Field(
        description="in place of values: the colours of the classes in colour masks, as `['#804080','#00008e']`"
    )
    ignore_value: int | str | None = Field(
        description="with classes: the value, or the colour, of pixels that neither train nor count, as `255`"
    )
    mask_threshold: float | None = Field(
        ge=-(2**31), le=2**32, description="in place of values: what is above it in a file belongs to the mask"
    )
    value_range: Literal["auto", "dtype"] | list[float] = Field(
        description="values in the files of images that become black and white: `[low,high]`; `dtype`, all that fit; "
        "`auto`, for 16 bits as many of 8, 10, 12, 14 and 16 as their values take"
    )
    tile: bool = Field(description="`true` cuts an image into tiles, `false` takes it as one pair")
    overlap: int = Field(ge=0, le=4096, description="pixels that neighbouring tiles share")
    fit: Literal["tile", "resize", "pad"] = Field(
        description="where tiles do not fit: `tile` moves the last one back, `resize` scales, `pad` adds zeros"
    )
    test_share: float = Field(ge=0, le=1, description="share of the images that go to the test set")
    split_seed: int = Field(ge=0, le=INT_MAX, description="random seed of the draw of test images")
    test_pattern: str | None = Field(
        description="in place of that share, a regular expression for the paths of test images"
    )
    group_pattern: str | None = Field(
        description="regular expression with one group, as the name of a patient; images of one group stay together"
    )
    strict: bool = Field(description="`true` ends with a bad file, `false` leaves bad files out and counts them")


class NetworkParams(Section):
    """Which network, and how it is built; an option that a network does not have is None."""

    name: str = Field(
        description="for masks `residual_unet` (the article's), `bn_unet`, `plain_unet`, `file` (your own); "
        "for labels `dense`, `cnn`"
    )
    base_filters: int | None = Field(ge=1, le=1024, description="filters of the first level")
    dropout: float | None = Field(ge=0, lt=1, description="full rate of dropout, in steps of 1/256")
    batch_normalization: bool | None = Field(description="whether `bn_unet` normalises batches")
    momentum: float | None = Field(
        ge=0,
        lt=1,
        description="momentum of batch normalisation's moving averages; not used where `training.average` is above 0",
    )
    initializer: Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"] | None = Field(
        description="initial weights: `glorot_uniform`, `glorot_normal`, `he_uniform`, `he_normal`"
    )
    head_filters: int | None = Field(ge=0, le=1024, description="filters of the last ReLU layer; 0 leaves it out")
    path: str = Field(description="`.keras` file of network `file`; it maps images in [0, 1] to probabilities of masks")
    output: Literal["probabilities", "logits"] | None = Field(
        description="what network `file` predicts: `probabilities`, or `logits`, to which a sigmoid is added, or for "
        "classes a softmax"
    )


class TrainingParams(Section):
    """How the network learns, in every stage that trains it."""

    learning_rate: float = Field(gt=0, le=10, description="learning rate of Adam")
    loss: str = Field(
        description="for masks `bce_dice`, `binary_crossentropy`, `dice`; for masks of classes `crossentropy_dice`, "
        "`categorical_crossentropy`, `dice`; for labels `categorical_crossentropy`"
    )
    average: float = Field(
        ge=0,
        lt=1,
        description="predict by a moving average of the weights that keeps this share a step; 0 by the weights",
    )
    augmentation: Literal["none", "flips", "dihedral"] = Field(
        description="in training, `flips` mirrors pairs at random, `dihedral` also turns them by right angles; `none` "
        "is for images whose mirror image could not occur, and for labels"
    )
    seed: int = Field(ge=0, le=INT_MAX, description="random seed of weights, dropout and batches")
    precision_policy: Literal["auto", "float32", "mixed_bfloat16"] = Field(
        description="`float32`, `mixed_bfloat16`, or `auto`: bfloat16 where the hardware has it"
    )
    statistics: Literal["moving", "estimated"] = Field(
        description="batch normalisation predicts by `moving` averages, or by statistics `estimated` on the pairs that "
        "were trained on last"
    )


class SeedTrainingParams(Section):
    """The first pairs, which the network learns before it chooses any."""

    count: int = Field(ge=1, le=INT_MAX, description="seed pairs, the first ones of the pool")
    with_foreground: bool = Field(
        description="`true` takes the first ones with foreground, where most pairs are without any"
    )
    batch_size: int = Field(ge=1, le=65536, description="pairs of a step of the seed training")
    max_epochs: int = Field(ge=1, le=INT_MAX, description="most epochs of the seed training")
    goal: Literal["learn", "try", "skip"] = Field(
        description="if `precision` is not reached, `learn` stops and `try` goes on; `skip` leaves fresh weights; "
        "`null` is what the strategy needs"
    )

    @property
    def filled(self) -> int:
        """Pairs with foreground that the pool shall begin with."""
        return self.count if self.with_foreground else 0


class BudgetParams(Section):
    """How many pairs the strategies choose that do not go by failures, and how long they train on these."""

    count: int = Field(ge=1, le=INT_MAX, description="pairs to choose")
    epochs: int = Field(ge=1, le=INT_MAX, description="epochs of a fresh network on the chosen pairs")
    steps: int | None = Field(ge=1, le=INT_MAX, description="training steps in place of epochs, if given")
    averaged: float = Field(
        ge=0, le=1, description="share of that training, at its end, over which weights are averaged"
    )


class SelectParams(Section):
    """How the core is chosen from the pool; a section follows for each strategy, with the options in its file."""

    strategy: str = Field(
        description="`pick_to_learn`; `first_failure`, the article's walk; with a budget `everything`, `random`, "
        "`given`, `uncertainty`, `el2n`, `forgetting`, `ccs`, `k_center`, `facility_location`, `foreground_random`, "
        "`mask_shape`"
    )
    batch_size: int = Field(
        ge=1, le=65536, description="pairs of a training step; those of `pick_to_learn` have `replay_size`"
    )
    order_seed: int | None = Field(
        ge=0,
        le=INT_MAX,
        description="shuffles the pool before the seed pairs are taken; `null` keeps its order, but is `0` where pairs "
        "come from files",
    )
    exclude: str = Field(description="table of pairs to leave out, as the `core.csv` of an earlier run")
    start_from: str = Field(
        description="folder with `core.csv`, `core.keras` and `core.json` of an earlier core to go on from"
    )
    on_suspect: Literal["keep", "set_aside"] = Field(
        description="what `pick_to_learn` does with a pair that fails by far, at less than half of the bar: `keep` "
        "learns it as any other, `set_aside` leaves it out until it scores higher, since its mask may be wrong"
    )
    retrain: int = Field(
        ge=0,
        le=INT_MAX,
        description="training steps of a fresh network on the core, which replaces the one that chose it; `0`: none",
    )
    budget: BudgetParams

    @property
    def options(self) -> Any:
        """The section of the chosen strategy."""
        return getattr(self, self.strategy)


class JudgeParams(Section):
    """How pairs are judged by networks that did not learn them."""

    folds: int = Field(
        ge=0,
        le=100,
        description="parts of the pool; the pairs of each are judged by a network that learns the other parts. "
        "`0` is for masks that are right for certain, as drawn ones",
    )
    repeats: int = Field(
        ge=1,
        le=100,
        description="times that this is done, with other parts each; of a pair's judgements the least shortfall counts",
    )
    steps: int = Field(ge=1, le=INT_MAX, description="training steps of each of these networks, of 20 pairs")


class AuditParams(Section):
    """What counts as a copy."""

    likeness: float = Field(
        gt=0, le=1, description="correlation of details from which two images count as copies or overlapping"
    )


class EvaluateParams(Section):
    """How evaluation treats test pairs that stand in the pool, too."""

    on_leak: Literal["report", "drop", "fail"] = Field(
        description="test pairs that share an image with the pool: `report` counts, `drop` leaves out, `fail` stops"
    )


class Params(Section):
    """All of ``params.yaml``, or the part that a stage declares."""

    precision: float = Field(
        gt=0,
        description="a training round ends once the mean score of an epoch is above it (`pick_to_learn`: the running "
        "mean of its steps, and the new pairs have to pass); below 1.1 for `tiered_iou`, else below 1",
    )
    tolerance: float = Field(gt=0, le=1, description="a pair fails when its score is below `precision · tolerance`")
    confidence: float = Field(gt=0, lt=1, description="confidence of the bounds on the share of fresh pairs that fail")
    score: str = Field(
        description="score of a pair: for masks `tiered_iou`, `iou`, `dice`, of several classes their mean, or "
        "`worst_class_iou`; for labels `hit_rate`, `true_probability`"
    )
    score_background: bool = Field(description="whether the background counts as a class in these means")
    dataset: DatasetParams
    network: NetworkParams
    training: TrainingParams
    seed_training: SeedTrainingParams
    select: SelectParams
    judge: JudgeParams
    audit: AuditParams
    evaluate: EvaluateParams

    @property
    def bar(self) -> float:
        """The score below which a pair fails."""
        return self.precision * self.tolerance

    @property
    def suspect_below(self) -> float:
        """The score below which a failing pair is set aside; 0 if none is."""
        return FAR * self.bar if self.select.on_suspect == "set_aside" else 0.0
