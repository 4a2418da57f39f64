"""MLflow makes no calls of its own while it is read here."""

import os

os.environ["MLFLOW_MODEL_CATALOG_URI"] = ""
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
