"""Masks for new images: applies a finished run's network to 2D images and 3D volumes."""

from ssl_bench.prediction.inputs import list_images
from ssl_bench.prediction.masks import predict
from ssl_bench.prediction.predictor import Predictor, load_predictor

__all__ = ["Predictor", "list_images", "load_predictor", "predict"]
