"""The server: everyone's client on one port."""
