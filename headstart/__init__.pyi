from headstart.api.extractor import FeatureExtractor as FeatureExtractor
from headstart.api.head import HeadClassifier as HeadClassifier
from headstart.api.images import RejectedImagesError as RejectedImagesError
from headstart.api.model import load_model as load_model
from headstart.api.run import load_run as load_run

__version__: str
__all__ = ["FeatureExtractor", "HeadClassifier", "RejectedImagesError", "load_model", "load_run"]
