"Parity with the reference libraries; a package, so that its files may be named as those one folder up."
