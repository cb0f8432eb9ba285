"""The music-genre family: features of music, their data module, network task and figures."""
