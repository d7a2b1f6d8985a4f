"""Your own data: a folder of mesh files, array files or tables, read with a recipe that names fields."""
