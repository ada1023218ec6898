"""Problems: networks with their data, losses, initialisations and metrics."""
