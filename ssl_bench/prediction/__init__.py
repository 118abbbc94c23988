"""Masks for new images and volumes by finished runs' networks, and these networks as models of their own."""

from ssl_bench.prediction.inputs import list_images
from ssl_bench.prediction.masks import predict
from ssl_bench.prediction.model import LoadedModel
from ssl_bench.prediction.predictor import Predictor, load_predictor, load_predictors

__all__ = ["LoadedModel", "Predictor", "list_images", "load_predictor", "load_predictors", "predict"]
