"""The pocket Wan: a 12-million-parameter image-to-video model that ships with the house."""
