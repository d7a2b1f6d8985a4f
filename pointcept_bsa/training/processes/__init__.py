"""The processes of a run: started, interrupted, started again; how they train one model."""
