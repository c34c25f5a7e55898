"""What answers: a model on this machine, a served one, or the nearest training example."""

from evalkit.models.local import LocalModel
from evalkit.models.protocol import Generated, Model
from evalkit.models.retrieval import RetrievalModel
from evalkit.models.served import EndpointModel

__all__ = ["EndpointModel", "Generated", "LocalModel", "Model", "RetrievalModel"]
