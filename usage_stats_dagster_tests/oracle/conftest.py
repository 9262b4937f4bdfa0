"""A hypothesis profile for `mutations.py`: stop at the first failure, don't make it smaller."""

from hypothesis import Phase, settings

settings.register_profile("mutations", phases=[Phase.explicit, Phase.generate])
