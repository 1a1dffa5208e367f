"""Where the outputs of the stages stand: the same paths as in dvc.yaml."""

from pathlib import Path

POOL = Path("data/train.zarr")
TEST = Path("data/test.zarr")
LEAKS = Path("data/leaks.csv")
SEED_MODEL = Path("models/seed.keras")
CORE_MODEL = Path("models/core.keras")
SEED_RECORD = Path("models/seed.json")
CORE_RECORD = Path("models/core.json")
CORE = Path("data/core.zarr")
CORE_TABLE = Path("data/core.csv")
REJECTED = Path("data/rejected.csv")
VERIFIED = Path("data/verified.npz")
JUDGED = Path("data/judged.npz")
SUSPECTS = Path("data/suspects.csv")
TEST_SCORES = Path("data/test_scores.csv")
WORST = Path("data/worst.npz")

POOL_METRICS = Path("metrics/train.json")
TEST_METRICS = Path("metrics/test.json")
AUDIT_METRICS = Path("metrics/audit.json")
SEED_METRICS = Path("metrics/seed.json")
SELECT_METRICS = Path("metrics/select.json")
JUDGE_METRICS = Path("metrics/judge.json")
EVALUATE_METRICS = Path("metrics/evaluate.json")

SEED_CURVE = Path("metrics/plots/seed.csv")
WALK_CURVE = Path("metrics/plots/walk.csv")
SCORES_CURVE = Path("metrics/plots/scores.csv")

PAGE = Path("metrics/report.html")
PICTURES = Path("metrics/pictures")
SCRIPT = Path("metrics/vega.js")
OVERVIEW = Path("metrics/core.jpg")
