"""The files of a data version: `manifest.json` names the exact blobs, `MLTable` lets Azure ML's own tools open them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ml_core.ports import Blob

# https://learn.microsoft.com/azure/machine-learning/reference-yaml-mltable
_READERS = {
    ".csv": {"read_delimited": {"delimiter": ",", "encoding": "utf8", "header": "all_files_same_headers"}},
    ".parquet": "read_parquet",
}


def version_folder(data_asset: str, version: str, blobs: Sequence[Blob]) -> dict[str, str]:
    """File name -> text. The same blobs give the same bytes: a time of creation would make a retry look like another version."""
    listed = sorted(blobs, key=lambda blob: blob.url)
    manifest = {
        "data_asset": data_asset,
        "version": version,
        "blobs": [{"url": blob.url, "etag": blob.etag, "size": blob.size} for blob in listed],
    }
    return {"manifest.json": json.dumps(manifest, indent=2) + "\n", "MLTable": json.dumps(_mltable(listed), indent=2) + "\n"}


def _mltable(blobs: Sequence[Blob]) -> dict[str, object]:
    """MLTable is YAML, and JSON is YAML without its surprises (a path such as `no.csv: x` needs no thought)."""
    table: dict[str, object] = {"type": "mltable", "paths": [{"file": blob.url} for blob in blobs]}
    endings = {blob.path[blob.path.rfind(".") :].lower() for blob in blobs}
    reader = _READERS.get(endings.pop()) if len(endings) == 1 else None
    if reader:
        table["transformations"] = [reader]
    return table
