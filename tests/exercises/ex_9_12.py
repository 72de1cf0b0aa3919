def rows_to_edit(prompt_length, cached, new):
    return [i for i in range(new) if cached + i == prompt_length - 1]
