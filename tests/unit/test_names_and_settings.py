"""Names that are keys, and settings that say what they lack. Nothing is faked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_core import naming
from ml_core.errors import SettingError
from ml_core.settings import Settings

ROOT = Path(__file__).parents[2]
BLOBS = st.lists(st.tuples(st.text(min_size=1), st.text("0123456789ABCDEFx", min_size=1), st.integers(1, 10**12)), unique=True)
GOOD = {
    "TIDEGATE_SUBSCRIPTION_ID": "s",
    "TIDEGATE_RESOURCE_GROUP": "g",
    "TIDEGATE_WORKSPACE": "w",
    "TIDEGATE_STORAGE__blobServiceUri": "https://a.blob.core.windows.net/",
    "TIDEGATE_STORAGE__queueServiceUri": "https://a.queue.core.windows.net",
    "TIDEGATE_DATA__blobServiceUri": "https://d.blob.core.windows.net",
}


@given(BLOBS, st.randoms())
def test_a_version_has_the_same_name_in_whatever_order_its_blobs_came(blobs: list[tuple[str, str, int]], random: object) -> None:
    shuffled = list(blobs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert naming.data_version(shuffled) == naming.data_version(blobs)


@given(BLOBS.filter(bool))
def test_another_etag_makes_another_version_and_quotes_do_not(blobs: list[tuple[str, str, int]]) -> None:
    (url, etag, size), *rest = blobs
    assert naming.data_version([(url, f'"{etag}"', size), *rest]) == naming.data_version(blobs)
    assert naming.data_version([(url, etag + "F", size), *rest]) != naming.data_version(blobs)


def test_a_version_is_named_v_and_sixteen_hex_digits_of_the_hash() -> None:
    # By hand: printf '[["u","0x1",2]]' | sha256sum
    assert naming.data_version([("u", '"0x1"', 2)]) == "v6da7ca6ebafbef18"


def test_a_job_is_named_by_its_model_its_version_and_what_caused_it() -> None:
    assert naming.training_job("churn", "v1", "data") == "train-churn-v1"
    assert naming.training_job("churn", "v1", "schedule-20260301T030000") == "train-churn-v1-schedule-20260301T030000"


@given(
    st.tuples(*[st.text("ab.-_/ ", min_size=1, max_size=300)] * 2), st.tuples(*[st.text("ab.-_/ ", min_size=1, max_size=300)] * 2)
)
def test_jobs_of_other_models_or_causes_have_other_names(one: tuple[str, str], other: tuple[str, str]) -> None:
    names = [naming.training_job(model, "v0123456789abcdef", cause) for model, cause in (one, other)]
    assert all(naming.is_job_name(name) for name in names)
    assert (names[0] == names[1]) == (one == other)


def test_what_azure_would_not_take_of_a_name_is_stood_for_by_a_fingerprint() -> None:
    assert naming.training_job("m.x", "v1", "data") != naming.training_job("m-x", "v1", "data")
    assert naming.training_job("m", "v1", "c" * 300) != naming.training_job("m", "v1", "c" * 301)
    assert len(naming.training_job("m" * 300, "v1", "data")) == 255


@pytest.mark.parametrize("text", ["", "0", "01", "1234567890", "1.5", "-1", "\u0661", "\u00b2", "1\n"])
def test_what_is_no_version_of_the_pipeline_is_told_apart(text: str) -> None:
    assert not naming.is_model_version(text)
    assert naming.is_model_version("10")


def test_the_idle_slot_is_the_one_that_does_not_serve() -> None:
    assert [naming.idle_slot(stable) for stable in (None, "blue", "green", "of-somebody-else")] == [
        "blue",
        "green",
        "blue",
        "blue",
    ]


def test_settings_are_read_from_a_mapping() -> None:
    settings = Settings.from_mapping(GOOD)
    assert settings.storage_blob_url == "https://a.blob.core.windows.net"
    assert settings.resource_manager == "https://management.azure.com"
    assert settings.workspace_id.endswith("/Microsoft.MachineLearningServices/workspaces/w")


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_setting_names_itself_and_where_to_set_it(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} is missing.*local.settings.json"):
        Settings.from_mapping({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("url", ["http://a.blob.core.windows.net", "a.blob.core.windows.net", "https://"])
def test_an_address_that_is_not_https_is_refused_since_tokens_are_sent_there(url: str) -> None:
    with pytest.raises(SettingError, match="expected an https URL"):
        Settings.from_mapping({**GOOD, "TIDEGATE_DATA__blobServiceUri": url})


def test_the_example_of_the_local_settings_holds_every_setting() -> None:
    values = json.loads((ROOT / "local.settings.json.example").read_text())["Values"]
    example = Settings.from_mapping(values)
    assert example.workspace == "tidegate-local"
    optional = {"TIDEGATE_RESOURCE_MANAGER", "TIDEGATE_CONFIG", "TIDEGATE_LEDGER_CONTAINER", "TIDEGATE_GIT_COMMIT"}
    optional |= {"TIDEGATE_DEAD_LETTER_CONTAINER", "TIDEGATE_NOTIFY_WEBHOOK", "TIDEGATE_NOTIFY_FORMAT"}
    optional |= {"TIDEGATE_LOG_ANALYTICS", "TIDEGATE_LOG_ANALYTICS_WORKSPACE"}
    assert {name for name in values if name.startswith("TIDEGATE_")} == set(GOOD) | optional
