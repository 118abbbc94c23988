VERSION = 0


def draw(i):
    raise NotImplementedError
