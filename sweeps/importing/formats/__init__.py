"""One file for each format of logs, found by lying here: it has a TITLE, a RANK, of which the lowest is read where a
folder holds several, and `find`, which yields the runs of a file, a folder or an address, and none of another format.
"""
