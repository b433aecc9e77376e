# For Packer from 1.7 on: copy it beside tandem.pkr.hcl and run `packer init ami`. Debian's 1.6.6 refuses this block, so it
# stands apart.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.0"
    }
  }
}
