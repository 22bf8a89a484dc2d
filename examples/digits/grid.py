"""The grid: which models there are, and which images belong to which fold.

scikit-learn is imported where it is used, so that ``plan.py`` can read the names of the models, and
say what is missing, without it.
"""

from __future__ import annotations

from typing import Any

MODELS = ("logistic", "forest", "neighbours", "svm")
DIGITS = 10


def make_model(name: str, seed: int) -> Any:
    """Return an untrained model; all of them work in one thread, the cells are the parallel part.

    The settings are those one would try first. They were not tuned on this data: then the folds
    would no longer tell how well a model reads digits it hasn't seen.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if name == "logistic":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if name == "forest":
        return RandomForestClassifier(n_estimators=300, random_state=seed)
    if name == "neighbours":
        return KNeighborsClassifier(n_neighbors=3)
    if name == "svm":
        return SVC(kernel="rbf", C=10.0, gamma="scale")
    raise ValueError(f"there is no model {name!r}; there are {', '.join(MODELS)}")


def load_images() -> tuple[Any, Any]:
    """Return the images, 64 numbers from 0 to 16 each, and the digits they show."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    return images, digits


def split(images: Any, digits: Any, fold: int, folds: int, seed: int) -> tuple[Any, Any]:
    """Return the indices of the images to train and to test with, for a fold counted from 1.

    Each digit is as frequent in a fold as in the whole. The same seed gives the same folds in each
    process, so all models meet the same images, and each image is in one fold.
    """
    from sklearn.model_selection import StratifiedKFold

    pairs = StratifiedKFold(folds, shuffle=True, random_state=seed).split(images, digits)
    train, test = list(pairs)[fold - 1]
    return train, test
