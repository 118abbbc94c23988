"""Statistics of scores over methods, seeds and cases, on plain arrays.

`cell` has one method's scores, `anova` the analysis of variance, `column` the comparison of the methods of a column,
`ranking` the stability of their order, `components` the sources of the spread.
"""
