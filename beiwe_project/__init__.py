"""A lab's project: Beiwe's studies, and the lab's own tables made from them."""
