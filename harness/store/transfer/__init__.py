"""What travels between stores: export, import, merge, relocate.

Here: `export`, `importer`, `merge`, `relocate`; `bundle` and `tables` are the folder on its way,
`columns` says which columns travel, `renames` what ids become.
"""
