"""The studio's settings: command line over environment over studio.yaml over defaults."""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from manifests.cards import ALL_CARDS, CardRules
from manifests.device import NO_DEVICE, known_device
from manifests.errors import BadInput, Fault
from manifests.hosts import NO_HOSTS, HostRules
from manifests.inbox import InboxRules
from manifests.models import POCKET, ModelSpec, builtin_models
from manifests.motion import HUB_ADAPTER
from manifests.notify import NotifyRules
from manifests.placement import CardPlacement
from manifests.refusal import Refusal
from manifests.secret import silent, told_name
from manifests.setting_fault import PREFIX, Sources, mistyped_environment
from manifests.text import suggest
from manifests.window import Window
from manifests.yaml_mapping import read_mapping
from manifests.yaml_text import Node

SETTINGS_NAME = "studio.yaml"
_PATHS = ("presets_dir", "upscale_model", "lpips_weights_dir")
_FILE: ContextVar[tuple[Path, Node | None] | None] = ContextVar("file", default=None)
"""studio.yaml as `load_studio` read it, with faults of its own; None: it is still to be read."""


class Studio(BaseSettings):
    """What holds for every night in one root folder. `load_studio` names faults in words."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    root: Path = Field(default_factory=Path.cwd)
    """Where everything is written; absolute."""
    models: Annotated[dict[str, ModelSpec], Field(default_factory=builtin_models)]
    """By name; `pocket-wan` is always there."""
    default_model: str = POCKET
    default_preset: str = "two-stage"
    source_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """More folders from which stills, LUTs and LoRAs may come, besides the sheet's and root."""
    presets_dir: Path | None = None
    """The studio's own presets: `<family>/<name>.yaml`; they win over the bundled ones."""
    styles: dict[str, str] = {}
    """The studio's own style snippets; they win over the bundled ones."""
    device: Annotated[str, AfterValidator(known_device)] = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:0`; `none`: hosts render, this machine does not."""
    cards: CardRules = ALL_CARDS
    """Cards that nights may use, and whether other people's work goes first on them."""
    placement: CardPlacement = CardPlacement()
    """Parts of a model on other cards than the one that renders: `{vae: cuda:1}`."""
    threads: Annotated[int | None, Field(ge=1, le=1024)] = None
    """CPU threads that the workers share; None: all cores."""
    max_takes: Annotated[int, Field(ge=1, le=20)] = 3
    """Attempts at a shot before a person is asked."""
    stuck_after: Annotated[float, Field(ge=2, le=1000)] = 10.0
    """A take without a step for so many times as long as its steps take is stuck; 5 minutes are
    waited for at least."""
    retake_takes: Annotated[int | None, Field(ge=0)] = None
    """Retakes that a night makes at most, over all its shots; None: no bound."""
    retake_minutes: Annotated[float | None, Field(ge=0)] = None
    """Minutes of rendering that a night spends on retakes; None: no bound."""
    stop_disk_gb: Annotated[float, Field(ge=0)] = 2.0
    """With less free space than this (10**9 bytes) on the root's disk no take is started."""
    card_memory_gb: Annotated[float | None, Field(gt=0)] = None
    """Memory (2**30 bytes) of the cards that a night is planned for; None: of those here."""
    store_gb: Annotated[float, Field(ge=0)] = 20.0
    """What need not be computed twice is kept up to this size (10**9 bytes); 0 keeps nothing."""
    crf: Annotated[int, Field(ge=0, le=51)] = 18
    """x264 quality of the review files; lower is better and larger."""
    upscale_model: Path | None = None
    """A `.safetensors` upscaler; None: Lanczos."""
    lpips_weights_dir: Path | None = None
    """Where LPIPS backbone weights lie; None: the seeded random backbone."""
    thresholds: dict[str, dict[str, float | None]] = {}
    """Limits of metrics that differ in this studio: metric -> warn, fail; null lifts one."""
    prefect_port: Annotated[int, Field(ge=1024, le=65535)] = 4200
    """Port of the embedded Prefect server on 127.0.0.1; any free one where it is taken."""
    metrics_port: Annotated[int | None, Field(ge=1024, le=65535)] = None
    """Port on which `rushes serve` tells Prometheus the studio's figures; None: nowhere."""

    inbox: InboxRules = InboxRules()
    """Where sheets are dropped."""
    window: Window | None = None
    """The night's hours; None: whenever it is started, for as long as it takes."""
    hosts: HostRules = NO_HOSTS
    """Other machines that may join the nights and render for them."""
    notify: NotifyRules = NotifyRules()
    """Who is told when a night begins, is in trouble, or ends."""

    @property
    def settings_file(self) -> Path:
        """Where the settings of this root stand, or would stand."""
        return self.root / SETTINGS_NAME

    @property
    def zone(self) -> ZoneInfo | None:
        """Where the studio's clocks are: the zone of its hours; None: this machine's."""
        return None if self.window is None else self.window.timezone

    @property
    def ledger_path(self) -> Path:
        """SQLite file of what happened."""
        return self.root / "rushes.db"

    @property
    def takes_dir(self) -> Path:
        """Folders of takes."""
        return self.root / "takes"

    @property
    def delivered_dir(self) -> Path:
        """Finished files; nothing in it is ever overwritten."""
        return self.root / "delivered"

    @property
    def reports_dir(self) -> Path:
        """Morning reports."""
        return self.root / "reports"

    @property
    def inbox_dir(self) -> Path:
        """Where sheets and their stills are dropped; absolute."""
        return self.root / self.inbox.folder.expanduser()

    @property
    def accepted_dir(self) -> Path:
        """Sheets that were taken from the inbox."""
        return self.inbox_dir / "accepted"

    @property
    def rejected_dir(self) -> Path:
        """Sheets that were refused, with their faults beside them."""
        return self.inbox_dir / "rejected"

    @property
    def state_dir(self) -> Path:
        """Locks, logs and what the server keeps."""
        return self.root / ".rushes"

    @property
    def store_dir(self) -> Path | None:
        """What need not be computed twice; safe to delete at any moment."""
        return self.state_dir / "store" if self.store_gb > 0 else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, studio.yaml of the root."""
        read = _FILE.get()
        if read is None:
            root = init_settings().get("root") or env_settings().get("root") or Path.cwd()
            file = Path(root) / SETTINGS_NAME
            node, faults = _read(file)
            if faults:
                raise BadInput(faults)
            read = file, node
        from_file = _plain(*read)
        return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)

    @field_validator("root", *_PATHS, mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("source_roots", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        folders = value.split(os.pathsep) if isinstance(value, str) else value
        return [Path(folder).expanduser().absolute() for folder in folders if folder]

    @field_validator("presets_dir", mode="after")
    @classmethod
    def _is_folder(cls, folder: Path | None) -> Path | None:
        # A preset that is not found there would be taken from the bundled ones, silently.
        return None if folder is None else _existing(folder)

    @field_validator("source_roots", mode="after")
    @classmethod
    def _there(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(map(_existing, folders))

    @field_validator("models", mode="before")
    @classmethod
    def _with_builtin(cls, value: Any) -> Any:
        return {**builtin_models(), **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _somebody_renders(self) -> Self:
        if self.device == NO_DEVICE and self.hosts.listen is None:
            raise Refusal(
                "device is none, and no hosts may join: nobody would render",
                "write auto, or let hosts join with `hosts: {listen: address:port}`",
            )
        return self

    @field_validator("default_model", mode="after")
    @classmethod
    def _is_listed(cls, name: str, info: ValidationInfo) -> str:
        # Fields are read in order; models that are refused themselves are not there.
        if name not in info.data.get("models", [name]):
            raise Refusal(
                f"default_model {name!r} is not among the models",
                suggest(name, info.data["models"]),
            )
        return name


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise Refusal(f"the folder {str(folder)!r} is not there", "make it or drop it")
    return folder


def load_studio(root: Path | None = None, **overrides: Any) -> Studio:
    """The settings that hold in `root` (default: RUSHES_ROOT, else the current folder).

    `overrides` come from the command line and win; those that are None are left out.
    Raises BadInput with every fault, each with the place that it came from.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    if root is not None:
        given["root"] = root
    folder = Path(root or os.environ.get(f"{PREFIX}ROOT") or Path.cwd())
    if folder.is_file():
        remedy = "give the studio's folder as --root (or RUSHES_ROOT); sheets are named beside it"
        raise BadInput([Refusal("is a file, and no studio's folder", remedy).at(folder)])
    file = folder / SETTINGS_NAME
    node, faults = _read(file)
    faults += mistyped_environment(Studio.model_fields)
    sources = Sources(settings=Studio, file=file, node=node, given=given)
    token = _FILE.set((file, node))
    try:
        studio = Studio(**given)
    except ValidationError as error:
        faults += map(sources.fault, error.errors())
    except SettingsError as error:
        faults.append(
            Fault(file=Path("environment"), problem=str(error), remedy="write JSON, or unset it")
        )
    finally:
        _FILE.reset(token)
    if faults:
        # As they stand in the file; what came from elsewhere goes before.
        raise BadInput(sorted(faults, key=lambda fault: fault.row or 0))
    return studio


def _read(file: Path) -> tuple[Node | None, list[Fault]]:
    """The mapping in studio.yaml, None where there is none, and what its form has wrong.

    Raises BadInput where nothing of it can be read.
    """
    try:
        node, faults = read_mapping(file, form="write `key: value` lines", tell=told_name)
    except FileNotFoundError:
        if file.is_symlink():  # else a share that is not mounted would mean: no settings
            remedy = "mount what it points to, or remove the link"
            return None, [Refusal("is a link to a file that is not there", remedy).at(file)]
        return None, []
    except BadInput as error:
        raise BadInput(map(silent, error.faults)) from None
    return node, [silent(fault) for fault in faults]


def _plain(file: Path, node: Node | None) -> dict[str, Any]:
    """The settings in the file, its relative paths made to start at its folder."""
    values: dict[str, Any] = {} if node is None else node.plain()
    base = file.parent.absolute()
    for key in _PATHS:
        if isinstance(values.get(key), str):
            values[key] = base / Path(values[key]).expanduser()
    if isinstance(roots := values.get("source_roots"), list):
        values["source_roots"] = [base / Path(str(root)).expanduser() for root in roots]
    if isinstance(models := values.get("models"), dict):
        values["models"] = {name: _located(base, entry) for name, entry in models.items()}
    return {key: value for key, value in values.items() if value is not None}


def _located(base: Path, entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    entry = {key: value for key, value in entry.items() if value is not None}
    if isinstance(entry.get("location"), str) and entry.get("revision") is None:
        entry["location"] = str(base / Path(entry["location"]).expanduser())
    for part in ("transformer", "transformer_2"):
        if isinstance(entry.get(part), str):
            entry[part] = str(base / Path(entry[part]).expanduser())
    adapter = entry.get("motion_adapter")
    if isinstance(adapter, str) and not HUB_ADAPTER.fullmatch(adapter):
        entry["motion_adapter"] = str(base / Path(adapter).expanduser())
    return entry
