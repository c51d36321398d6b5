"""Log a study to MLflow without ever stopping or slowing it."""
