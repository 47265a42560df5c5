"""Documents that go with a run: a model card and a checklist for the paper."""
