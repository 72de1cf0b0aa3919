from ftlib.settings import UnknownName


def exit_code(error):
    codes = ((type(None), 0), (KeyboardInterrupt, 130), (UnknownName, 2), (BaseException, 1))
    return next(code for kind, code in codes if isinstance(error, kind))
