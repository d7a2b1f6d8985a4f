"""Every name in a shipped config exists in both hosts."""

from __future__ import annotations

import ast
from pathlib import Path

import names
import pytest

from pointcept_bsa.host import DATASETS, HOOKS, LOSSES, MODELS, OPTIMIZERS, SCHEDULERS, TESTERS, TRAINERS, TRANSFORMS
from pointcept_bsa.host.embedded import Config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.py") if path.parent.name != "_base_")
EMBEDDED = dict(
    TRAINERS=TRAINERS,
    HOOKS=HOOKS,
    TRANSFORMS=TRANSFORMS,
    OPTIMIZERS=OPTIMIZERS,
    SCHEDULERS=SCHEDULERS,
    MODELS=MODELS,
    LOSSES=LOSSES,
    DATASETS=DATASETS,
    TESTERS=TESTERS,
)


@pytest.fixture(scope="module")
def plugin() -> dict[str, set[str]]:
    """What the plugin registers in either host."""
    found: dict[str, set[str]] = {}
    for part in ("backbones", "datasets", "losses", "models", "training/evaluation"):
        for registry, part_names in names.registered_names(ROOT / "pointcept_bsa" / part).items():
            found.setdefault(registry, set()).update(part_names)
    for registry, more in (*names.BOTH_REGISTER.items(), *names.HOSTS_OWN.items()):
        found.setdefault(registry, set()).update(more)
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_config_uses_names_of_both_hosts(path, plugin):
    for registry, name in names.names_in_config(Config.fromfile(str(path), lazy_import=False)):
        assert name in names.HOST_NAMES[registry] | plugin.get(registry, set()), f"{registry}: {name}"
        assert EMBEDDED[registry].get(name) is not None


def test_the_table_in_the_docs_is_complete(plugin):
    """Every name that a shipped config uses, with who brings it; and no name that is gone."""
    table = names.documented_names(ROOT / "pointcept_bsa" / "host" / "pointcept" / "README.md")
    used: dict[str, set[str]] = {registry: set() for registry in EMBEDDED}
    for path in CONFIGS:
        for registry, name in names.names_in_config(Config.fromfile(str(path), lazy_import=False)):
            used[registry].add(name)
    for registry, wanted in used.items():
        assert wanted - table[registry].keys() == set(), f"{registry}: not in the table of host/pointcept"
        for name, source in table[registry].items():
            assert EMBEDDED[registry].get(name) is not None, f"{registry}: {name} is in the table and nowhere else"
            if name in names.HOST_NAMES[registry]:
                assert source == "each host", name
            elif name in names.HOSTS_OWN.get(registry, ()):
                assert source == "Pointcept, else plugin", name
            else:
                assert source == "plugin" and name in plugin[registry], name


def test_hosts_offer_the_same_door():
    """The lists of names in host, host.embedded and host.pointcept.binding agree."""
    lists = []
    for module in ("__init__", "embedded/__init__", "pointcept/binding"):
        source = (ROOT / "pointcept_bsa" / "host" / f"{module}.py").read_text(encoding="utf-8")
        (value,) = (
            n.value for n in ast.parse(source).body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"
        )
        lists.append(set(ast.literal_eval(value)) - {"HOST"})
    assert lists[0] == lists[1] == lists[2]


def test_there_are_configs():
    assert len(CONFIGS) >= 12


def test_embedded_host_brings_the_common_names():
    for registry, wanted in names.HOST_NAMES.items():
        assert wanted <= set(EMBEDDED[registry].module_dict), registry


def test_pointcept_brings_the_common_names_and_none_of_the_plugins(checkout, plugin):
    host = names.registered_names(checkout / "pointcept")
    for registry, wanted in names.HOST_NAMES.items():
        assert wanted <= host.get(registry, set()), registry
    for registry, own in plugin.items():
        assert own & host.get(registry, set()) <= names.HOSTS_OWN.get(registry, set()), registry
