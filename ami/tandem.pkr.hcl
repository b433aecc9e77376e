# The image of tandem for EC2: Debian 12, DPDK, drivers, units. `packer build ami` with a build of tandem at hand:
#
#   cargo build --release && packer build -var region=eu-central-1 -var subnet_id=subnet-… ami
#
# Packer from 1.7 on takes plugins/required.pkr.hcl beside this file and `packer init`; Debian's 1.6.6 has the plugin built in
# and knows no such block.

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "A subnet with a way to Debian's mirrors; empty: one of the default VPC."
}

variable "base_image" {
  type        = string
  default     = ""
  description = "An AMI of Debian 12 for amd64; empty: the newest of Debian's own."
}

variable "build_instance" {
  type        = string
  default     = "c5n.large"
  description = "What the image is made on; it runs on c5n.18xlarge and c5n.metal alike, as both boot from NVMe and have ENA."
}

variable "binary" {
  type        = string
  default     = "target/release/tandem"
  description = "The build of tandem, made on Debian 12."
}

source "amazon-ebs" "tandem" {
  ami_name        = "tandem-{{timestamp}}"
  ami_description = "tandem on Debian 12 for c5n.18xlarge and c5n.metal"
  region          = var.region
  subnet_id       = var.subnet_id
  instance_type   = var.build_instance
  source_ami      = var.base_image
  ssh_username    = "admin"
  ena_support     = true

  # Where base_image is empty. 136693071363 is Debian's account.
  source_ami_filter {
    filters = {
      name                = "debian-12-amd64-*"
      architecture        = "x86_64"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"]
    most_recent = true
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 16
    volume_type           = "gp2"
    encrypted             = true
    delete_on_termination = true
  }

  tags = {
    Name = "tandem"
    Base = "{{ .SourceAMIName }}"
  }
}

build {
  sources = ["source.amazon-ebs.tandem"]

  provisioner "shell" {
    inline = ["mkdir -p /tmp/tandem"]
  }

  provisioner "file" {
    source      = "${path.root}/files"
    destination = "/tmp/tandem"
  }

  provisioner "file" {
    source      = var.binary
    destination = "/tmp/tandem/tandem"
  }

  provisioner "shell" {
    script          = "${path.root}/provision"
    execute_command = "sudo env {{ .Vars }} bash {{ .Path }} /tmp/tandem"
  }
}
