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
# Dependencies come first, from the product's lock, so that a change of the source does not install them again.
COPY Makefile ./
COPY requirements requirements
ARG ACCELERATOR=cpu
RUN PIP_NO_CACHE_DIR=1 make dependencies ACCELERATOR="$ACCELERATOR" PYTHON=python VENV=/usr/local

COPY pyproject.toml README.md LICENSE ./
COPY hnlm_ray hnlm_ray
COPY configs configs
COPY jobs jobs
RUN pip install --no-cache-dir --no-deps --editable .

USER hnlm
ENV RAY_AUTH_MODE=token
CMD ["hnlm", "--help"]
