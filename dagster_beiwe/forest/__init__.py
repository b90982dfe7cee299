"""Forest: analyses of raw data by programs of the lab that makes Beiwe, in an environment of their own."""
