"""Sets of simulations of cars: one spec each, one data set class, one preparation."""

from pointcept_bsa.datasets.car_sets import ahmedml, drivaerml, drivaernet, windsorml  # noqa: F401
