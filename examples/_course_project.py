"""Who makes the claims that the reports of simulations 4 and 5 hold against theirs."""

SOURCE = "course project (illustration)"
SOURCE_NOTE = (
    'The claims are those of a course project, "ResNet and Big Data in Computer '
    'Vision". Its figures are illustrations and not measurements; they stand for what '
    "is widely said. Numbers of other data cannot be met, directions can."
)
