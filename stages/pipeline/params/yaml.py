"""YAML files as DVC reads them: YAML 1.2, in which ``1e-3`` is a number, and no key twice."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.pipeline.errors import UserError

LINE_LENGTH = 300  # characters of a parser's message


def read_yaml(path: Path) -> Any:
    """Parse a YAML file into plain data.

    Raises
    ------
    UserError
        If the file is missing or not such YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run from the folder that holds it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not plain YAML: {' '.join(str(error).split())[:LINE_LENGTH]}") from None
