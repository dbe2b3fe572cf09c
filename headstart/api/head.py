"""The head as a classifier of scikit-learn, trained and computed by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from headstart._utils.seeds import derive
from headstart.api.checks import ArgumentError, section
from headstart.training.head import apply_head
from headstart.training.parameters import TrainHeadParams

Labels = npt.NDArray[Any]
Indices = npt.NDArray[np.int32]


class HeadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Train the pipeline's head on features, behind scikit-learn's interface.

    With the same features, split, parameters and seed it learns the same weights as the stage
    ``train_head``: those of Keras' dense layers, losses and optimizers. A fitted classifier holds
    NumPy arrays alone and can be pickled. TensorFlow is not needed.

    Parameters
    ----------
    hidden : sequence of int, default=()
        Units of each hidden layer between the features and the classes.
    normalization : {"standardize", "batch", "none"}, default="standardize"
        Bring every feature to mean 0 and variance 1, as measured on the training rows; or pass them
        through batch normalization, which learns.
    dropout : float, default=0.0
        Share of values that are dropped before each dense layer.
    activation : {"softmax", "sigmoid"}, default="softmax"
        ``softmax``: exactly one class applies. ``sigmoid``: each class against the rest.
    label_smoothing : float, default=0.1
        Share of each label that is spread over all classes in training.
    optimizer : str, default="adamw"
        One of the optimizers that are listed at ``train_head.optimizer`` in params.yaml.
    learning_rate : float, default=0.001
        Step size; the default suits about a thousand features. With fewer features, use larger
        steps and no weight decay.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Lower the step size to 0 over all epochs, or keep it.
    weight_decay : float, default=1.0
        Pull of the weights toward zero: each step shrinks them by this share of the step size.
    batch_size : int, default=32
    epochs : int, default=30
        Maximum number of epochs.
    steps_per_epoch : int, optional
        Batches per epoch. Default: every row once.
    early_stopping_patience : int or None, default=10
        Stop when the validation loss has not improved for this many epochs, and keep the best
        weights. None: train for all epochs.
    calibration : {"temperature", "none"}, default="temperature"
        Divide the outputs by one number that fits the validation rows, so that the probabilities
        agree with the accuracy.
    validation_fraction : float, default=0.1
        Share of the rows that is kept for validation without ``X_val``. With
        ``early_stopping_patience=None`` and ``calibration="none"`` all rows are trained on.
    class_weights : {"none", "balanced"}, default="none"
        With ``balanced``, a class with few rows weighs more.
    random_state : int, RandomState or None, default=0
        Seed of the weights, of dropout, and of the order of the rows.
    verbose : bool, default=False
        Print a line for each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    layers_ : list of dict
        Layers of the head.
    weights_ : dict of str to ndarray
        Weights by ``<position of the layer>.<name>``.
    history_ : DataFrame
        Loss and accuracy of each epoch; on validation rows, where there are any.
    n_iter_ : int
        Number of epochs that were run.
    best_epoch_ : int
        The epoch whose weights were kept, counted from 1.

    Examples
    --------
    >>> import headstart as hs
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> X, y = load_iris(return_X_y=True)
    >>> head = hs.HeadClassifier(learning_rate=0.1, weight_decay=0)  # few features
    >>> bool(head.fit(X, y).score(X, y) > 0.9)
    True
    >>> cross_val_score(head, X, y, cv=3).shape
    (3,)
    """

    def __init__(  # noqa: PLR0913 - an argument for each parameter of the head
        self,
        hidden: Sequence[int] = (),
        *,
        normalization: Literal["standardize", "batch", "none"] = "standardize",
        dropout: float = 0.0,
        activation: Literal["softmax", "sigmoid"] = "softmax",
        label_smoothing: float = 0.1,
        optimizer: str = "adamw",
        learning_rate: float = 0.001,
        learning_rate_schedule: Literal["cosine", "constant"] = "cosine",
        weight_decay: float = 1.0,
        batch_size: int = 32,
        epochs: int = 30,
        steps_per_epoch: int | None = None,
        early_stopping_patience: int | None = 10,
        calibration: Literal["temperature", "none"] = "temperature",
        validation_fraction: float = 0.1,
        class_weights: Literal["none", "balanced"] = "none",
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.normalization = normalization
        self.dropout = dropout
        self.activation = activation
        self.label_smoothing = label_smoothing
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.early_stopping_patience = early_stopping_patience
        self.calibration = calibration
        self.validation_fraction = validation_fraction
        self.class_weights = class_weights
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> Self:
        """Train the head.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, used as float32.
        y : array-like of shape (n_samples,)
            Class labels, numbers or strings.
        X_val, y_val : array-like, optional
            Rows for validation; they choose the epoch and the temperature.

        Returns
        -------
        HeadClassifier
            Itself.

        Raises
        ------
        ValueError
            If a parameter or the data cannot be used.
        HeadstartError
            If the training diverges.

        Examples
        --------
        >>> import headstart as hs
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> head = hs.HeadClassifier(epochs=50)
        >>> head.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2]).history_.columns.tolist()
        ['epoch', 'loss', 'accuracy', 'val_loss', 'val_accuracy', 'learning_rate']
        """
        params = self._params()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"The data contains only one class, {self.classes_[0]!r}; a classifier needs two. "
                "Nothing was trained."
            )
        seed = derive(_seed(self.random_state), "train_head")
        train, validation = (X, labels.astype(np.int32)), self._validation(X_val, y_val)
        chooses = self.early_stopping_patience is not None or self.calibration != "none"
        # Of very few rows, none can be spared.
        if validation is None and chooses and len(X) > 2 * len(self.classes_):
            train, validation = self._divided(*train, seed)
        if validation is None:  # The rows of the training would make any head look calibrated.
            params = params.model_copy(update={"calibration": "none"})
        from headstart.training.fit_head import fit_head

        # Where nothing is held out, each epoch is scored on the rows that it was trained on.
        self.layers_, self.weights_, history = fit_head(
            train, validation or train, len(self.classes_), params, seed, self._say
        )
        self.history_ = history.epochs
        if validation is None:
            self.history_ = history.epochs.drop(columns=["val_loss", "val_accuracy"])
        self.n_iter_, self.best_epoch_ = len(history.epochs), history.best_epoch
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            Columns in the order of ``classes_``. With ``activation="sigmoid"`` each class is
            judged by itself; such rows are divided by their sum.

        Examples
        --------
        >>> import headstart as hs
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> hs.HeadClassifier().fit(X, y).predict_proba(X[:2]).shape
        (2, 3)
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        found = apply_head(self.layers_, self.weights_, X)
        if self.activation == "sigmoid":
            found = found / np.maximum(found.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return found

    def predict(self, X: Any) -> Labels:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)

        Examples
        --------
        >>> import headstart as hs
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> names = y.map(dict(enumerate(["setosa", "versicolor", "virginica"])))
        >>> head = hs.HeadClassifier(learning_rate=0.1, weight_decay=0).fit(X, names)
        >>> head.predict(X[:1]).tolist()
        ['setosa']
        """
        found = self.predict_proba(X)
        labels: Labels = self.classes_[found.argmax(axis=1)]
        return labels

    def _params(self) -> TrainHeadParams:
        if not 0 < self.validation_fraction < 1:
            raise ArgumentError(
                "The `validation_fraction` parameter must be a number between 0 and 1. Got "
                f"{self.validation_fraction!r} instead. Nothing was trained."
            )
        own = ("validation_fraction", "random_state", "verbose")
        values = {name: value for name, value in self.get_params().items() if name not in own}
        loss = "binary" if self.activation == "sigmoid" else "categorical"
        values |= {"outputs": "classes", "loss": f"{loss}_crossentropy"}
        return section(TrainHeadParams, "HeadClassifier", values)

    def _validation(self, X: Any, y: Any) -> tuple[npt.NDArray[np.float32], Indices] | None:
        if X is None and y is None:
            return None
        if X is None or y is None:
            raise ValueError("Give both X_val and y_val, or neither. Nothing was trained.")
        X, y = validate_data(self, X, y, dtype=np.float32, reset=False)
        unknown = sorted(set(y.tolist()) - set(self.classes_.tolist()))
        if unknown:
            raise ValueError(
                f"y_val holds the class {unknown[0]!r}, which y does not have. Nothing was trained."
            )
        return X, np.searchsorted(self.classes_, y).astype(np.int32)

    def _divided(self, X: npt.NDArray[np.float32], labels: Indices, seed: int) -> Any:
        """Divide the rows into those to train on and those to validate on, class by class."""
        rows = np.arange(len(X))
        few = np.bincount(labels).min() < 2
        kept, held = train_test_split(
            rows,
            test_size=max(self.validation_fraction, len(self.classes_) / len(X)),
            stratify=None if few else labels,
            random_state=seed % 2**32,
        )
        return (X[kept], labels[kept]), (X[held], labels[held])

    def _say(self, line: str) -> None:
        if self.verbose:
            print(line, flush=True)


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
