"""Only its declaration matters: it is never run."""


class TritonPythonModel:
    def execute(self, requests: list[object]) -> list[object]:
        raise NotImplementedError
