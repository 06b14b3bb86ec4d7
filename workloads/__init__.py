"""The code that runs elsewhere: training and scoring jobs of Databricks, or processes of the local cloud.

It is deployed alone (`databricks.yml` beside this file) and imports none of the project's other packages.
`train_model.py` and `score_model.py` are started as plain files with command-line arguments.
"""
