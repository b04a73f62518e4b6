#!/usr/bin/env python3
"""Write rows of the models in shared/model/tests/golden/wide as pandas and pyarrow write them.

usage: make.py OUT_DIR      (pip: pandas pyarrow)

Names begin with the model's. `rows.csv` beside them has the same rows; `types.*` are rows of the sample's forest with a type of
its own for each column, `types.csv` the same.
"""
import json, pathlib, sys
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.feather, pyarrow.parquet as pq

OUT = pathlib.Path(sys.argv[1])
ROOT = pathlib.Path(__file__).resolve().parents[4]


def frame(model):
    rows = json.loads((ROOT / f"shared/model/tests/golden/wide/{model}.expected.json").read_text())["rows"]
    return pd.DataFrame(rows)


def parquet(name, table, **options):
    pq.write_table(table, OUT / f"{name}.parquet", **options)


mixed = frame("missing_categories")
mixed["grade"] = mixed["grade"].astype("Int64")  # integers with missing values: plain pandas makes them floats
mixed.to_csv(OUT / "missing_categories.csv", index=False)
mixed.to_parquet(OUT / "missing_categories.pandas.parquet")
mixed.set_index(pd.Index([7, 3, 1, *range(20, 20 + len(mixed) - 3)])).to_parquet(OUT / "missing_categories.index.parquet")
mixed.astype({"city": "category", "plan": "category"}).to_parquet(OUT / "missing_categories.category.parquet", row_group_size=5)
mixed.to_feather(OUT / "missing_categories.pandas.feather")
mixed.astype({"city": "category", "plan": "category"}).to_feather(OUT / "missing_categories.category.feather", compression="zstd", chunksize=5)
table = pa.Table.from_pandas(mixed, preserve_index=False).replace_schema_metadata(None)
for codec in ["none", "gzip", "zstd", "lz4"]:
    parquet(f"missing_categories.{codec}", table, compression=codec, row_group_size=7)
parquet("missing_categories.v2", table, data_page_version="2.0", use_dictionary=False, version="1.0")
large = [field.with_type(pa.large_string()) if pa.types.is_string(field.type) else field for field in table.schema]
parquet("missing_categories.large", table.cast(pa.schema(large)), store_schema=True)
extra = table.append_column("when", pa.array(pd.date_range("2026-01-01", periods=len(mixed)))).append_column("tags", pa.array([["a"]] * len(mixed)))
parquet("missing_categories.extra", extra.select(list(reversed(extra.column_names))))
parquet("refused.brotli", table, compression="brotli")
parquet("refused.timestamp", table.set_column(0, "age", extra["when"]))
parquet("refused.list", table.set_column(2, "city", extra["tags"]))
with pa.OSFile(str(OUT / "missing_categories.arrows"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
    writer.write_table(table, max_chunksize=5)
with pa.OSFile(str(OUT / "missing_categories.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)

text = frame("columns_text")
text.to_csv(OUT / "columns_text.csv", index=False)
text.to_parquet(OUT / "columns_text.pandas.parquet")

types = {"age": np.int8, "sex": np.uint64, "bmi": np.float32, "bp": np.float16, "s1": bool, "s2": np.int16, "s3": np.uint32, "s4": np.int32, "s5": np.uint8, "s6": np.float64}
rng = np.random.default_rng(7)
numbers = pd.DataFrame({name: (rng.normal(size=9) * (3 if np.issubdtype(kind, np.integer) else 0.05)).round(3) for name, kind in types.items()})
numbers = numbers.assign(**{name: numbers[name].abs().astype(kind) if np.issubdtype(kind, np.unsignedinteger) else numbers[name].astype(kind) for name, kind in types.items()})
parquet("types.numbers", pa.Table.from_pandas(numbers, preserve_index=False))
numbers.astype({"bmi": float, "bp": float, "s1": int}).to_csv(OUT / "types.csv", index=False)
