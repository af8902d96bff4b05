"""The engine's own account of itself: statistics, the last minute, metrics, profiles (contract §5.6, §5.7).

What is counted all the time is counted in `metrics`, at the price of an addition. Everything else is made
when somebody asks, by modules that are imported then.
"""
