"""Make elbo_cli/data/digits.npz again, from scikit-learn's packaged copy of the UCI digits.

scikit-learn is not a dependency. In an environment of its own: pip install scikit-learn, then run
`python scripts/make_digits.py` from the project's root. The same copy gives the same bytes.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parent.parent / "elbo_cli" / "data" / "digits.npz"


def main() -> None:
    images = load_digits().images
    assert images.shape == (1797, 8, 8), images.shape
    assert (images == images.astype(np.uint8)).all()
    array = io.BytesIO()
    np.save(array, images.astype(np.uint8))
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(zipfile.ZipInfo("images.npy"), array.getvalue(), zipfile.ZIP_DEFLATED, 9)  # no date in it
    print(f"{TARGET}: {images.shape}, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
