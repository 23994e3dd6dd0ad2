# One image for every node: head, workers, service.
#   docker build -t hnlm-ray:0.1.0 .
#   docker build -t hnlm-ray:0.1.0-gpu --build-arg ACCELERATOR=gpu .
FROM python:3.11-slim

# g++: DeepSpeed and torch compile small kernels at run time. rsync: `ray up`. wget: the health probes of KubeRay.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ make rsync wget \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 hnlm

WORKDIR /app
# Dependencies first: a change of the source does not install them again. The editable install of the last step of
# `make setup` only needs the package to exist; its content follows.
COPY Makefile pyproject.toml README.md LICENSE ./
COPY requirements requirements
ARG ACCELERATOR=cpu
RUN mkdir hnlm_ray && touch hnlm_ray/__init__.py \
 && if [ "$ACCELERATOR" = gpu ]; \
    then pip install --no-cache-dir --editable ".[gpu]"; \
    else PIP_NO_CACHE_DIR=1 make setup PYTHON=python VENV=/usr/local; fi

COPY hnlm_ray hnlm_ray
COPY configs configs
COPY jobs jobs

USER hnlm
ENV RAY_AUTH_MODE=token
CMD ["hnlm", "--help"]
