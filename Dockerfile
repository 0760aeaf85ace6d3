# README's two commands in a box, from a clone: `docker build -t earlayers .` runs the first,
# `docker run --rm earlayers` the second; `docker run --rm -it earlayers bash` looks at what came out
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends git make \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --create-home ear
USER ear
WORKDIR /home/ear/earlayers
COPY --chown=ear . .
RUN make repro
CMD ["make", "test"]
