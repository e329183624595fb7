"""Whether two tables of scores say the same: same_scores.py SCORES.csv PARQUET_FOLDER (see examples/)"""

import sys

import numpy as np
import pandas as pd

AXES = ["pq", "pc", "ce", "cu"]


def main():
    by_pandas = pd.read_csv(sys.argv[1]).set_index("path").sort_index()
    by_ray = pd.read_parquet(sys.argv[2]).set_index("path").sort_index()
    assert list(by_pandas.index) == list(by_ray.index), "the same files"
    a, b = (table[[*AXES, "seconds"]].to_numpy(float) for table in (by_pandas, by_ray))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    failed = by_pandas["error"].notna()
    assert np.array_equal(failed, (by_ray["error"] != "").to_numpy()), "the same failures"
    assert 0 < failed.sum() < len(failed) and np.isfinite(a[~failed]).all()
    assert by_ray["worker"].nunique() == 2, "two workers"
    print(f"{len(by_ray)} files have the same scores, {failed.sum()} the same error")


if __name__ == "__main__":
    main()
