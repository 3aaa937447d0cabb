"""Manifests for Kubernetes: no engine can run here, so they are held against the published schema and read back.

Without these a manifest could be refused by every cluster, or an environment value become a command or a secret.
"""

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.cluster.batch import jobs, kubernetes
from nas.cluster.settings import ClusterSettings
from nas.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
SAID = {"kind": "kubernetes", "container": "registry.example/nas:1.2", "claim": "nas-runs", "workers": 4}
PARTS = ["$(PATH)", "$$", "$", "no", "1e3", "0x10", "~", "null", ": ", "- ", "#", "'", '"', "{", "&a", "*a", "!!int 3",
         "|", "---", "é", "\u2028", "\x85", "\ufeff", " ", "a", "\\", "%", "@", "`id`"]  # fmt: skip
hostile = st.one_of(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
)


def render(folder: Path = Path("/runs/fashion"), **said: object) -> list[dict]:
    return list(yaml.safe_load_all(text(folder, **said)))


def text(folder: Path = Path("/runs/fashion"), **said: object) -> str:
    cluster = ClusterSettings(**{**SAID, **said})
    make = (jobs.controller, jobs.workers)
    return kubernetes.render(*(one("fashion", "0123456789ab", folder, cluster) for one in make))


def container(document: dict) -> dict:
    (found,) = document["spec"]["template"]["spec"]["containers"]
    return found


def expanded(value: str) -> str:
    """What Kubernetes makes of $$ and $(NAME), where nothing is named so."""
    return re.sub(r"\$(\$|\([^)]*\))", lambda found: "$" if found[1] == "$" else "GONE", value)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(hostile, max_size=3), image=st.none() | hostile)
def test_manifests_are_read_back_into_what_was_meant(values, image):
    said = {"environment": {f"V{number}": value for number, value in enumerate(values)}}
    if image is not None:
        said["container"] = image
    accepted = {}
    for key, value in said.items():
        try:
            ClusterSettings(**{**SAID, key: value})
            accepted[key] = value
        except ValidationError:
            pass
    documents = render(**accepted)
    assert [one["metadata"]["name"] for one in documents] == ["nas-0123456789ab-controller", "nas-0123456789ab-workers"]
    for document in documents:
        found = container(document)
        assert found["image"] == accepted.get("container", SAID["container"])
        environment = {one["name"]: expanded(one["value"]) for one in found["env"]}
        wanted = accepted.get("environment", {})
        assert {name: environment.get(name) for name in wanted} == wanted
        words = [expanded(word) for word in found["command"]]
        assert words[:2] == ["python3", "-P"] and words[4].startswith("/runs/fashion")
        assert set(environment) - set(wanted) <= {
            "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "OMP_NUM_THREADS",
            "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
        }, "a name of the submitter's environment"  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"gpus_per_worker": 2, "cpus_per_worker": 8, "memory": "32G"}])
def test_manifests_are_of_the_published_schema(more):
    validate = pytest.importorskip("kubernetes_validate")
    for document in render(environment={"A": "1e3", "B": "no"}, **more):
        validate.validate(document, "1.31", strict=True)


def test_the_schema_is_one_that_refuses():
    validate = pytest.importorskip("kubernetes_validate")
    controller, _ = render()
    container(controller)["imagine"] = "x"
    with pytest.raises(validate.ValidationError):
        validate.validate(controller, "1.31", strict=True)


def test_the_manifests_are_these(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1000)
    said = text(
        cpus_per_worker=2, gpus_per_worker=1, memory="8G", environment={"NAS_DATA": "/runs/data sets", "N": "1e3"}
    )
    assert said == (GOLDEN / "manifests.yaml").read_text()


def test_pods_get_no_token_and_no_key():
    controller, workers = render()
    for document in (controller, workers):
        pod = document["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert [list(volume) for volume in pod["volumes"]] == [["name", "persistentVolumeClaim"]]
    assert not re.search("BEGIN|secret|pem", text(), re.IGNORECASE)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"container": None}, "say container, too"),
        ({"container": None, "claim": None}, "say container and claim, too"),
        ({"partition": "gpu", "modules": ["cuda"]}, "knows no partition, modules"),
        ({"claim": "No Claim"}, "no name of a volume claim"),
        ({"mount": "shared"}, "no folder, from /"),
    ],
)
def test_words_that_are_missing_or_mean_nothing_are_told(said, message):
    with pytest.raises(ValidationError, match=message):
        ClusterSettings(**{**SAID, **said})


def test_a_run_beside_the_volume_is_refused():
    assert container(render(mount="/runs")[0])["volumeMounts"] == [{"name": "runs", "mountPath": "/runs"}]
    with pytest.raises(InputError, match="not below /shared"):
        render(mount="/shared")
